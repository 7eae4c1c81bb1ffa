import os
import subprocess
import sys

SCRIPT = """
import os, sys
from sqlalchemy import text
from tasks import app

def ask():
    with app.runtime.database.reading() as session:
        return session.scalar(text("SELECT pg_backend_pid()"))

parent = ask()
child = os.fork()
if child == 0:
    apart = ask() != parent
    app.runtime.close()
    os._exit(0 if apart else 3)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.exit(status or (0 if ask() == parent else 4))
"""


def test_a_forked_child_talks_to_the_database_apart_and_leaves_its_parents_connection_alive(postgres_url: str) -> None:
    # Given a process that has talked to the inventory, and forks
    environment = {**os.environ, "FLEETRING_DATABASE_URL": postgres_url}

    # When the child talks to it, too, and closes everything, then the parent's connection still serves
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
