"""Your own data: look at them, and write a project that trains on them.

``command`` is the command line; ``readers`` turn each format into the records
of ``records``; ``images``, ``clean`` and ``splits`` check and repair them;
``fitting``, ``models`` and ``config_text`` choose and write the config;
``report`` and ``painting`` show the data; ``project`` puts it together.
"""
