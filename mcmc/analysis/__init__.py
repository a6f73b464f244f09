"""From draws to numbers with error bars."""
