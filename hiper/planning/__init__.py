"""What training costs, by counting: parameters, bytes, floating-point operations, seconds. Numbers in, numbers out."""
