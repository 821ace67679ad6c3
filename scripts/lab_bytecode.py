"""Keep what Python compiles, for all hosts of all labs.

Ansible sends a module as sources in a zip, anew for each task, and hosts compile them each time: a
third of what a module costs them. pip compiles all that it installs, three fifths of the time that
a gateway's environment takes. Hosts of the lab remember it, by path and source.
"""

import contextlib
import marshal
import os
import zipimport
from _frozen_importlib_external import SourceLoader
from _imp import source_hash

KEPT = "/var/cache/lab-bytecode"
compile_zipped = zipimport._compile_source
compile_file = SourceLoader.source_to_code


def remembered(name, source, compile_it):
    """Return the code of a source, compiled once."""
    kept = os.path.join(KEPT, source_hash(0, os.fsencode(name) + b"\0" + source).hex())
    try:
        with open(kept, "rb") as file:
            return marshal.load(file)
    except (OSError, EOFError, ValueError):
        code = compile_it()
    making = f"{kept}.{os.uname().nodename}.{os.getpid()}"
    with contextlib.suppress(OSError):  # users other than root cannot write there
        with open(making, "wb") as file:
            marshal.dump(code, file)
        os.replace(making, kept)
    return code


def of_a_zip(path, source):
    """In the place of the function that zipimport compiles with."""
    return remembered(path.rpartition(".zip")[2], source, lambda: compile_zipped(path, source))


def of_a_file(loader, source, path, *, _optimize=-1):
    """In the place of the method that imports and `py_compile` compile with."""
    def compile_it():
        return compile_file(loader, source, path, _optimize=_optimize)

    if not isinstance(source, bytes):
        return compile_it()
    return remembered(f"{_optimize} {os.fsdecode(path)}", source, compile_it)


zipimport._compile_source = of_a_zip
SourceLoader.source_to_code = of_a_file
