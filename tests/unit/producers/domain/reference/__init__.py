"""Another implementation of the rules, plain and slow, to compare decisions with."""
