"""Where nnU-Net's trainer lookup meets this package; the only file of a folder named by ``nnUNet_extTrainer``.

nnU-Net imports every file of such a folder as a top-level module, looks for a class of the wanted name, and afterwards
forgets the modules that lie in the folder. The classes therefore live in the installed package, which is imported here
by its absolute name: they are the same objects wherever they are looked up, can be pickled and reach spawned workers.
"""

try:
    from nnunetv2_pclmix.trainer_variants import *  # noqa: F403
except ModuleNotFoundError as error:
    # The variable may be inherited by the Python of another environment, which has nnU-Net but not this package.
    if error.name != "nnunetv2_pclmix":
        raise
