"""Components: how their settings are declared, which class a name stands for, and whose code may run."""
