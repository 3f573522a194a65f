"""The page a customer sees: verdict, table, plots and images of a run, in one self-contained HTML file."""
