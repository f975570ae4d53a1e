"""What the console is held against: two admin generators and a floor, on the console's own tables."""
