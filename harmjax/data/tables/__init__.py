"""Tables and BIDS folders as records of people, centres and classes, or errors that say where."""
