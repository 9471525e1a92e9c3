"""Programs of somebody who uses rollbook, as its documentation shows them."""
