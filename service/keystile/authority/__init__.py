"""The rules of Keystile, which meet I/O only through ports."""
