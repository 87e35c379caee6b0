"""The twelve leads, without NumPy, because the settings of a page name them."""

LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
