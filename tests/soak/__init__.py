"""The soak: ten minutes of load, changes and faults, judged answer by answer."""
