"""Durable state: one door in for changes (`Store.write`, group commit), any number of readers (`Store.read`).

SQLite is the embedded default and belongs to one process; PostgreSQL, by URL, is shared by any number of replicas.
Both pass the same contract suite (`tests/contracts/test_store.py`). Read `commit.py` next.
"""

from ca.store.commit import Transaction, Unit
from ca.store.engine import Store, open_store

__all__ = ["Store", "Transaction", "Unit", "open_store"]
