"""A program that uses rollbook as its documentation shows; it imports public packages only."""
