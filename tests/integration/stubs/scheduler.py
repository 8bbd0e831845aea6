"""Stands in for bsub, bjobs, qsub, qstat ...: notes how it is called and runs the job at once.

The name it is called by says which command it is; notes and states lie in $STUB_FOLDER.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ["STUB_FOLDER"])
LSF = f"""LSF configuration at 127.0.0.1
 LSB_SHAREDIR = {FOLDER}
 LSF_CONFDIR = {FOLDER}
 LSF_UNIT_FOR_LIMITS = MB
"""


def submitted() -> int:
    """How many jobs there have been."""
    notes = FOLDER / "submitted"
    return len(notes.read_text().splitlines()) if notes.exists() else 0


def submit(arguments: list[str], command: list[str]) -> int:
    """Run a job to its end; its number."""
    with (FOLDER / "submitted").open("a") as notes:
        notes.write(shlex.join(arguments) + "\n")
    number = submitted()
    with (FOLDER / f"{number}.log").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=log).returncode
    part = FOLDER / f"{number}.part"
    part.write_text(str(code))
    part.rename(FOLDER / f"{number}.code")  # at once: bjobs may be reading
    return number


def main() -> None:
    """Answer as the command whose name this has."""
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    codes = {path.stem: int(path.read_text()) for path in FOLDER.glob("*.code")}
    if name == "bsub":
        number = submit(arguments[:-1], ["bash", "-c", arguments[-1]])
        print(f"Job <{number}> is submitted to queue <normal>.")
    elif name == "bjobs":
        states = {None: "RUN", 0: "DONE"}
        for job in range(1, submitted() + 1):
            print(job, states.get(codes.get(str(job)), "EXIT"))
    elif name == "badmin":
        print(LSF)
    elif name == "lsclusters":
        print("CLUSTER_NAME STATUS\ntest ok")
    elif name == "qsub":
        print(f"{submit(arguments[:-1], ['bash', arguments[-1]])}.server")
    elif name == "qstat":
        number = arguments[-1].removesuffix(".server")
        print(f"Job Id: {arguments[-1]}\n    job_state = F\n    Exit_status = {codes[number]}")
    else:
        sys.exit(f"{name}: no stand-in for {arguments}")


main()
