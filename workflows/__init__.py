"""Pipelines of Argo Workflows, built with Hera; and what their steps execute, which needs neither."""
