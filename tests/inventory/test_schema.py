import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from tasks.inventory import (
    Base,
    Database,
    DatabaseNotMigrated,
    DatabaseUnreachable,
    InventoryError,
    Node,
    Subcloud,
    migration,
    nodes,
)

REVISIONS = sorted(script.revision for script in migration._scripts().walk_revisions())


def test_models_and_migrations_describe_the_same_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_constraints_bear_the_names_that_the_models_give_them(database: Database) -> None:
    inspector = inspect(database.engine)
    for table in Base.metadata.sorted_tables:
        named = {constraint.name for constraint in table.constraints}
        found = {inspector.get_pk_constraint(table.name)["name"]}
        found |= {constraint["name"] for constraint in inspector.get_unique_constraints(table.name)}
        found |= {constraint["name"] for constraint in inspector.get_check_constraints(table.name)}
        found |= {constraint["name"] for constraint in inspector.get_foreign_keys(table.name)}
        assert found == named


def test_an_upgrade_is_undone_by_its_downgrade(database: Database) -> None:
    with database.engine.execution_options(write=True).begin() as connection:
        config = migration._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert set(inspect(database.engine).get_table_names()) == {"alembic_version"}
    assert database.upgrade() == REVISIONS


def test_a_second_upgrade_changes_nothing(database: Database) -> None:
    assert database.pending() == []
    assert database.upgrade() == []
    assert database.revision() == REVISIONS[-1]
    database.ensure_migrated()


def test_processes_that_start_at_once_may_all_upgrade(database_url: str) -> None:
    # Given processes that are ready to upgrade
    script = (
        "import sys; from tasks.inventory import Database; database = Database(sys.argv[1]); "
        "print('ready', flush=True); sys.stdin.readline(); print(database.upgrade())"
    )
    command = [sys.executable, "-c", script, database_url]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    # When all do it at the same moment
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=60)[0].strip() for process in started]
    # Then one has done it, and the others found it done
    assert sorted(ended) == sorted([str(REVISIONS), "[]", "[]", "[]"])
    assert [process.returncode for process in started] == [0] * 4


def test_a_database_that_was_never_migrated_says_what_to_run(database_url: str) -> None:
    database = Database(database_url)
    assert database.revision() is None
    assert database.pending() == REVISIONS
    with pytest.raises(DatabaseNotMigrated, match=f"lacks revision {', '.join(REVISIONS)}; run `fleetring db upgrade`"):
        database.ensure_migrated()
    with pytest.raises(DatabaseNotMigrated, match="fleetring db upgrade"), database.reading() as session:
        nodes.list_(session)
    database.close()


def test_a_database_of_a_newer_version_is_left_alone(database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseNotMigrated, match="has revision 9999, which this version does not know"):
        database.upgrade()


def test_a_state_that_does_not_exist_is_refused_by_the_database(database: Database) -> None:
    with database.session() as session:
        session.add(Subcloud(name="subcloud-1", driver="fake"))
    statement = text("UPDATE subclouds SET state = 'odd'")
    with pytest.raises(IntegrityError, match="ck_subclouds_state"), database.session() as session:
        session.execute(statement)


def test_an_address_where_nothing_listens_is_named_without_its_password() -> None:
    database = Database("postgresql+psycopg://fleet:geheim@127.0.0.1:1/fleet")
    with pytest.raises(DatabaseUnreachable, match=r"fleet:\*\*\*@127.0.0.1:1") as caught:
        database.upgrade()
    assert "geheim" not in str(caught.value)
    assert "FLEETRING_DATABASE_URL" in str(caught.value)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnreachable, match="unable to open database file"):
        Database(f"sqlite:///{tmp_path / 'file' / 'inventory.db'}").upgrade()


def test_a_folder_without_write_permission_is_an_unusable_database() -> None:
    # Given a folder that may be read but not written to, and a process that is not root
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:
                os.setuid(65534)
            # When it makes an inventory there
            try:
                Database(f"sqlite:///{folder}/inventory.db").upgrade()
            except DatabaseUnreachable:
                os._exit(7)
            os._exit(0)
        # Then it is told so
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        Path(folder).chmod(0o755)


@pytest.mark.parametrize("url", ["nonsense", "mysql+pymysql://localhost/x", "foo://x"])
def test_an_address_of_another_kind_is_refused_before_anything_connects(url: str) -> None:
    with pytest.raises(InventoryError, match="database_url"):
        Database(url)


def test_a_database_that_goes_away_in_the_middle_is_unreachable_and_usable_again_later(postgres_url: str) -> None:
    database, other = Database(postgres_url), Database(postgres_url)
    database.upgrade()
    with pytest.raises(DatabaseUnreachable, match="terminat"), database.session() as session:
        _end_the_connections_of_others(session, other)
    with database.reading() as session:
        assert nodes.list_(session) == []
    database.close()
    other.close()


def _end_the_connections_of_others(session: Session, killer: Database) -> None:
    pid = session.execute(text("SELECT pg_backend_pid()")).scalar()
    with killer.reading() as own:
        own.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    nodes.list_(session)


def test_a_deadlock_is_not_taken_for_an_unreachable_database(postgres_url: str) -> None:
    database = Database(postgres_url)
    with pytest.raises(OperationalError, match="deadlock"), database.session() as session:
        session.execute(text("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$"))
    database.close()


def test_no_prepared_statement_is_left_for_the_next_client_of_a_pooled_server(postgres_url: str) -> None:
    database = Database(postgres_url)
    database.upgrade()
    with database.reading() as session:
        for _ in range(10):
            nodes.find(session, []) or session.query(Node).all()
        assert session.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar() == 0
    database.close()


def test_a_forked_child_uses_connections_of_its_own(postgres_url: str) -> None:
    database = Database(postgres_url)
    database.upgrade()
    with database.reading() as session:
        parent = session.execute(text("SELECT pg_backend_pid()")).scalar()
    child = os.fork()
    if child == 0:
        database.after_fork()
        with database.reading() as session:
            os._exit(int(session.execute(text("SELECT pg_backend_pid()")).scalar() == parent))
    assert os.waitpid(child, 0)[1] == 0
    with database.reading() as session:
        assert session.execute(text("SELECT pg_backend_pid()")).scalar() == parent
    database.close()
