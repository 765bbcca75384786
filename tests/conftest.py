"""What every test shares: hypothesis without deadlines, because machines that run tests are busy."""

from hypothesis import settings

settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
