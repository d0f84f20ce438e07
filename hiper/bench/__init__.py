"""How fast this code is, each part measured against the obvious alternative in one run: ratios, checked for meaning."""
