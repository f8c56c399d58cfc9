"""The command line: ``lab``, and the same commands as ``openstack lab``.

A command is a class in the module of its noun and a line in ``client/setup.py``. What a command
does not need is not imported: one that asks one question takes a quarter of a second in all.
"""
