//! Postgres: pools, migrations, transactions, constraint names, leases.
