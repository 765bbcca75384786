"""`python -m trmctl`."""

from trmctl.cli import main

if __name__ == "__main__":
    main()
