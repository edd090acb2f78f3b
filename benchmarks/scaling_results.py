"""What the runs say: speeds and ratios, time lost to each cause, the fitted model; for `benchmarks.scaling`."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from async_rl.config import Config
from benchmarks.scaling_model import PREDICTED_CORES, SCENARIOS, Model, fit
from benchmarks.scaling_runs import Rounds, Sample, Setting, median

LOSSES = ("lost to caches and memory", "lost to shared writes", "lost to oversubscription")
Row = dict[str, object]


def losses(settings: Sequence[Setting]) -> Iterator[tuple[str, Setting, Setting]]:
    """Each cause of lost time with the setting that has it and the one that differs in nothing else."""
    of = {(setting.section, setting.workers): setting for setting in settings}
    for (section, workers), setting in of.items():
        if section == "independent":
            yield LOSSES[0], setting, of["scaling", 1]
            yield LOSSES[1], of["scaling", workers], setting
        elif section == "oversubscription":
            yield LOSSES[2], setting, of["scaling", setting.cores]


def of_core(setting: Setting, sample: Sample) -> Sample:
    """Microseconds of a core, not of a worker that may have to wait for one."""
    return sample.times(setting.cores / setting.workers)


def lost(samples: Rounds) -> Iterator[tuple[str, Setting, Sample, float]]:
    """Cause, setting, the median time lost (of a core per step), and its ratio to that without the loss."""
    for cause, worse, better in losses(list(samples)):
        pairs = [
            (of_core(worse, bad), of_core(better, good))
            for bad, good in zip(samples[worse], samples[better], strict=True)
        ]
        difference = median([bad.minus(good) for bad, good in pairs])
        ratio = statistics.median(bad.microseconds / good.microseconds - 1 for bad, good in pairs)
        yield cause, worse, difference, ratio


def reference(setting: Setting, settings: Mapping[Setting, object]) -> tuple[Setting, int]:
    """What a setting's speed is compared to, and the multiple of it that would be perfect."""
    first = next(iter(settings))
    if setting.section == "oversubscription":
        return replace(first, workers=setting.cores, cores=setting.cores), 1
    return first, setting.workers // first.workers


def measured_rows(samples: Rounds, parameters: Mapping[str, int]) -> Iterator[Row]:
    """A row for each setting: median speed, times and ratio over rounds."""
    for setting, values in samples.items():
        base, multiple = reference(setting, samples)
        pairs = zip(values, samples[base], strict=True)
        ratio = statistics.median(value.speed / (multiple * one.speed) for value, one in pairs)
        yield row(setting, median(values), ratio, parameters[setting.network])


def lost_rows(samples: Rounds, parameters: Mapping[str, int]) -> Iterator[Row]:
    """A row for each cause and setting; a loss has no speed."""
    for cause, setting, difference, ratio in lost(samples):
        yield row(replace(setting, section=cause), difference, ratio, parameters[setting.network]) | {
            "steps_per_second": ""
        }


def row(setting: Setting, sample: Sample, ratio: float, parameters: int) -> Row:
    """One line of the results."""
    return {
        "section": setting.section,
        "workers": setting.workers,
        "runs": setting.runs,
        "cores_used": setting.cores,
        "envs_per_worker": setting.envs_per_worker,
        "network": setting.network,
        "parameters": parameters,
        "steps_per_second": round(sample.speed),
        "ratio": f"{ratio:.3f}",
        "microseconds": f"{sample.microseconds:.1f}",
        **{f"{phase}_microseconds": f"{took:.1f}" for phase, took in sample.phases.items()},
    }


def predicted_rows(model: Model, default: Setting, parameters: int) -> Iterator[Row]:
    """A row for each scenario and number of cores; predictions, not measurements."""
    for scenario in SCENARIOS:
        for count in PREDICTED_CORES:
            took = model.microseconds(count, scenario)
            setting = replace(default, section=f"prediction, {scenario.name}", workers=count, cores=count, runs=1)
            yield row(setting, Sample(1e6 * count / took, took, {}), model.private / took, parameters)


def model_of(samples: Rounds, parameters: int, bandwidth: Mapping[int, float]) -> Model:
    """The model fitted to the runs on pinned cores."""
    times: dict[str, dict[int, float]] = {cause: {} for cause in LOSSES}
    for cause, setting, difference, _ in lost(samples):
        times[cause][setting.workers] = difference.microseconds
    alone = next(iter(samples))
    return fit(
        private=median(samples[alone]).microseconds,
        memory=times[LOSSES[0]],
        writes=times[LOSSES[1]],
        parameters=parameters,
        t_max=Config().t_max,
        envs_per_worker=alone.envs_per_worker,
        bandwidth=bandwidth,
    )
