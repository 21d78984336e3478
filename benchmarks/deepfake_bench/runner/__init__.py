"""Run measurements in processes of their own, and describe the machine."""
