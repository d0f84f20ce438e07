"""The WebShop benchmark in this process: products, goals, search, pages and reward of the original, without Java."""
