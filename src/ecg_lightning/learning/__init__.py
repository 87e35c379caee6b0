"""How a network learns: the module that all share, losses, mixup, distillation, optimizers and schedules."""
