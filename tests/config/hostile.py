"""Configs that a stranger might hand over, as presets; CANARY stands for a file that they may not write.

Each is an experiment's YAML; ``EVIL`` is a module on the path that writes the canary when it is imported or called.
"""

EVIL_MODULE = """import pathlib
pathlib.Path({canary!r}).write_text("imported")
def run(*args, **kwargs):
    return None
class Part:
    def __init__(self, *args, **kwargs):
        pathlib.Path({canary!r}).write_text("built")
"""

TARGETS = (
    "os.system", "subprocess.Popen", "builtins.exec", "builtins.eval", "shutil.rmtree", "pathlib.Path.write_text",
    "torch.load", "torch.hub.load", "numpy.load", "joblib.load", "pickle.loads", "runpy.run_module", "evil.Part",
    "evil.run", "torch.nn.modules.module.warnings.warn", "torch.optim.optimizer.functools.partial",
    "qframe.config.targets.importlib.import_module", "qframe.config.targets.trust", "qframe.cli.main.main",
    "qframe.runs.folder.write_json", "qframe.runs.folder.RunFolder", "qframe.envs.registry.find",
    "qframe.envs.registry.made", "qframe.runs.folder.RunFolder", "qframe.checkpoints.load_checkpoint",
    "hydra.utils.instantiate", "gymnasium.make", "gymnasium.wrappers.RecordVideo", "ctypes.CDLL",
)  # fmt: skip


def _in_a_group(target: str) -> str:
    return f"head:\n  _target_: {target}\n  path: CANARY\n"


def _logging(text: str) -> str:
    return f"hydra:\n  job_logging:\n    version: 1\n    {text}\n"


CONFIGS: dict[str, str] = {f"head {target}": _in_a_group(target) for target in TARGETS} | {
    "nested in a group": "optimizer:\n  algorithm: {_target_: evil.Part}\n",
    "nested in a list": "env:\n  wrappers: [{_target_: evil.Part}]\n",
    "nested in kwargs": "env:\n  kwargs: {goal: {_target_: evil.Part}}\n",
    "nested in kwargs, in a list": "env:\n  kwargs: {goal: [1, {deep: {_target_: os.system, command: touch}}]}\n",
    "partial": "optimizer:\n  algorithm: {_target_: evil.Part, _partial_: true}\n",
    "partial of the right one": "head: {_partial_: true, _args_: [1], _recursive_: true}\n",
    "a class by name": "trunk: {activation: evil.Part}\n",
    "an interpolated target": "name: evil\nhead:\n  _target_: ${name}.Part\n",
    "an assembled target": "name: evil\nhead:\n  _target_: ${oc.decode:'evil.Part'}\n",
    "a target of a resolver": "head:\n  _target_: ${oc.create:evil.Part}\n",
    "an id with a module": "env:\n  id: evil:Part-v0\n",
    "an id that is a class": "env:\n  id: evil.Part\n",
    "an id with a module, nested": "env:\n  kwargs: {e: {_target_: qframe.envs.GymnasiumEnvs, id: 'evil:X', "
    "num_envs: 1, vectorization: sync}}\n",
    "a wrapper that writes": "env:\n  wrappers: [{_target_: RecordVideo, video_folder: CANARY}]\n",
    "a formatter": _logging("formatters: {f: {(): logging.os.system, command: touch CANARY}}"),
    "a formatter of ours": _logging("formatters: {f: {(): evil.run}}"),
    "a handler that writes": _logging("handlers: {h: {class: logging.FileHandler, filename: CANARY}}"),
    "a stream that imports": _logging("handlers: {h: {class: logging.StreamHandler, stream: 'ext://evil.run'}}"),
    "a callback": "hydra:\n  callbacks: {c: {_target_: evil.Part}}\n",
    "a callback of hydra's": "hydra:\n  callbacks: {c: {_target_: hydra._internal.utils.os.system}}\n",
    "a launcher": "hydra:\n  launcher: {_target_: evil.Part}\n",
    "a launcher's job script": "hydra:\n  launcher: {setup: [touch CANARY]}\n",
    "a sweeper's sampler": "hydra:\n  sweeper: {sampler: {_target_: evil.Part}}\n",
    "a launcher's parameter that is a script": "hydra:\n  launcher: {parameters: {slurm_setup: [touch CANARY]}}\n",
    "a launcher's parameter of two lines": 'hydra:\n  launcher: {parameters: {name: "a\\ntouch CANARY"}}\n',
    "a node among the values of a sweep": "hydra:\n  sweeper: {params: {x: {_target_: evil.Part}}}\n",
    "a sweep over hydra's keys": "hydra:\n  sweeper: {params: {hydra.run.dir: CANARY}}\n",
    "an option in hydra's place": "defaults:\n  - /head@hydra.callbacks.c: scalar\n",
    "logging of hydra's own": "defaults:\n  - override /hydra/job_logging: default\n",
    "a job that changes its folder": "hydra:\n  job: {chdir: true}\n",
    "another search path": "hydra:\n  searchpath: ['pkg://evil']\n",
    "an environment variable": "hydra:\n  job: {env_set: {LD_PRELOAD: CANARY}}\n",
    "a run folder elsewhere": "hydra:\n  run: {dir: /tmp/CANARY}\n",
    "a run folder above": "hydra:\n  run: {dir: ../CANARY}\n",
    "a run folder of the environment's": "hydra:\n  run: {dir: '${oc.env:HOME}/CANARY'}\n",
    "a job's folder": "hydra:\n  sweep: {subdir: ../../CANARY}\n",
    "a path for a name": "name: ../../CANARY\n",
    "an option that is a path": "defaults:\n  - override /head: ../../../own/head/evil\n",
    "an option that is optional": "defaults:\n  - optional /head: scalr\n",
    "a tag of python's": "name: !!python/object/apply:os.system ['touch CANARY']\n",
}
