"""The training of a network: the shared module, losses, mixup, distillation, optimizers and schedules."""
