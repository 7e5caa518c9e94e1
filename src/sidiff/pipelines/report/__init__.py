"""Pipeline ``report``: a run as one page."""
