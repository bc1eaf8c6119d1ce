"""Lets nnU-Net find this package's trainers: run by ``nnunetv2-pclmix.pth`` whenever Python starts.

It appends the folder ``nnunetv2_pclmix/ext_trainer`` to the environment variable ``nnUNet_extTrainer``, where nnU-Net
2.8 and later look for trainers. What the user has put there stays and is searched first. Set
``NNUNETV2_PCLMIX_NO_HOOK`` to anything but an empty string to switch this off.

Every Python process of the environment runs this file, so it uses ``os`` only, which is loaded by then.
"""

import os

VARIABLE = "nnUNet_extTrainer"
OPT_OUT = "NNUNETV2_PCLMIX_NO_HOOK"
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "nnunetv2_pclmix", "ext_trainer")  # noqa: PTH100, PTH118, PTH120


def add_trainer_folder() -> None:
    """Append the folder of trainers to ``nnUNet_extTrainer`` unless it is there already or the user opted out."""
    if os.environ.get(OPT_OUT) or not os.path.isdir(FOLDER):  # noqa: PTH112
        return
    folders = [folder for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    if FOLDER not in folders:
        os.environ[VARIABLE] = os.pathsep.join([*folders, FOLDER])


add_trainer_folder()
