"""What tests of the chart share with those of the command line."""

from tests.trmctl.conftest import trmctl as trmctl
