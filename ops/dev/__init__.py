"""What developers run: tables and dashboards made from the code."""
