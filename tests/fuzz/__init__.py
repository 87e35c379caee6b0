"""Hostile and unusual inputs for every reader: each ends in a `UserError`, or in what an independent reader gives."""
