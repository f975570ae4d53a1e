"""The Django peer's one app: models of the console's tables and their admin, as `startapp` lays them out."""
