"""The command line of fuaio, one file per command."""
