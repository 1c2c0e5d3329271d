"""How long after its end a key is still accepted, anywhere: measured at every door of four processes under load."""
