"""Makes what the documentation shows of a run: tables, figures, formulas."""
