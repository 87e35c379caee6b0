"""The page of a paper ECG: layouts, geometry in millimetres and colours, without PyTorch."""
