"""What coalmine_gpu_check knows of GPUs, their driver and the host that they are in."""
