"""What talks to the database.

check            how it stands to this build, for a health check
connection       which databases there are, and what they can do
lock, pooler     one migrator at a time, in a session of its own
ledger, tables   who applied what, and the manifests of the builds that were here
executor, run    run migrations, with deferred.py for rows that wait for a check, outside.py for what runs outside a transaction,
                 signals.py for Django's signals and failure.py for what went wrong
found, objects   what migrations found already there, which they leave on the way back
explain          what a run would do; table_locks.py knows which lock a statement takes
fingerprint      what the schema is like
"""
