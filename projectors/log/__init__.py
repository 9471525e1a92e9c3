"""Reading the topics of the log: decoding, checking and folding records.

Each module reads a range of a topic that is fixed when reading begins, so reading ends even if
others keep writing. All layers above may import it; it knows `contract` but no read model.
"""
