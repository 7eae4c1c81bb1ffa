"""The Celery application: node actions, the work pool, periodic tasks and initial syncs."""
