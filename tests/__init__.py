import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait give their core to the other worker's tests
