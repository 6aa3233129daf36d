"""The manifests of an overlay as Kubernetes gets them: what ``kubectl kustomize`` prints, without that program.

It knows as much of kustomize as this project's manifests use, and refuses what else it finds. Run as a program, it
compares itself with the real one (``make manifests``): only the hashes in names may differ.
"""

import copy
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from programs import ROOT

K8S = ROOT / "k8s"

Object = dict[str, Any]

_FIELDS = {
    *("apiVersion", "kind", "namespace", "resources", "components", "configMapGenerator", "labels", "patches"),
    *("replacements", "images"),
}
_TEMPLATES = {
    "Deployment": ("spec.template",),
    "StatefulSet": ("spec.template", "spec.volumeClaimTemplates"),
    "CronJob": ("spec.jobTemplate", "spec.jobTemplate.spec.template"),
}
_UNNAMESPACED = ("Namespace",)


def render(folder: Path) -> list[Object]:
    """The objects of a kustomization, names of config maps with the hash of their content."""
    objects: list[Object] = []
    _accumulate(folder, objects)
    for made in [each for each in objects if each["kind"] == "ConfigMap"]:
        plain = made["metadata"]["name"]
        made["metadata"]["name"] = f"{plain}-{_hash(made)}"
        for each in objects:
            for mapping in _mappings(each):
                reference = mapping.get("configMapRef")
                if reference and reference["name"] == plain:
                    reference["name"] = made["metadata"]["name"]
    return objects


def variables(file: Path) -> dict[str, str]:
    """What a file of environment variables sets."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def pod_template(of: Object) -> Object | None:
    """The template of the pods that an object makes; None where it makes none."""
    places = _TEMPLATES.get(of["kind"])
    if places is None:
        return None
    *_, template = (found for place in places if "pod" in (found := _get(of, place)) or "spec" in found)
    return template


def workloads(objects: list[Object]) -> dict[str, Object]:
    """What makes pods, by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] in _TEMPLATES}


def _accumulate(folder: Path, objects: list[Object]) -> None:
    """Resources, then components, generators, transformers and replacements, in kustomize's order."""
    file = folder / "kustomization.yaml"
    told: Object = yaml.safe_load(file.read_text(encoding="utf-8"))
    if unknown := told.keys() - _FIELDS:
        raise NotImplementedError(f"{file} has {', '.join(unknown)}, which these tests do not render.")
    added: list[Object] = [] if told["kind"] == "Kustomization" else objects
    for name in told.get("resources", ()):
        if (folder / name).is_dir():
            _accumulate(folder / name, added)
        else:
            added.extend(yaml.safe_load_all((folder / name).read_text(encoding="utf-8")))
    for name in told.get("components", ()):
        _accumulate(folder / name, added)
    for generator in told.get("configMapGenerator", ()):
        _generate(generator, folder, added)
    for patch in told.get("patches", ()):
        text = patch.get("patch") or (folder / patch["path"]).read_text(encoding="utf-8")
        found = [each for each in added if _matches(each, patch["target"])]
        assert found, f"{file}: the patch for {patch['target']} has no target"
        for each in found:
            for operation in yaml.safe_load(text):
                _patch(each, operation)
    for each in added if "namespace" in told else ():
        if each["kind"] not in _UNNAMESPACED:
            each["metadata"]["namespace"] = told["namespace"]
        else:
            each["metadata"]["name"] = told["namespace"]
    for label in told.get("labels", ()):
        assert label["includeTemplates"] is True
        for each in added:
            _label(each, label["pairs"])
    for image in told.get("images", ()):
        for each in added:
            for container in _containers(each):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    for replacement in told.get("replacements", ()):
        _replace(replacement, added)
    if added is not objects:
        objects.extend(added)


def _generate(generator: Object, folder: Path, objects: list[Object]) -> None:
    data = dict(line.split("=", 1) for line in generator.get("literals", ()))
    for name in generator.get("envs", ()):
        data |= variables(folder / name)
    if generator.get("behavior") == "merge":
        [made] = [each for each in objects if _is(each, "ConfigMap", generator["name"])]
        made["data"].update(data)
    else:
        metadata = {"name": generator["name"]}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _is(of: Object, kind: str, name: str) -> bool:
    return of["kind"] == kind and of["metadata"]["name"] == name


def _matches(of: Object, target: Object) -> bool:
    """A target's kind and name are patterns of the whole word."""
    name, _, value = target.get("labelSelector", "").partition("=")
    return bool(
        re.fullmatch(target["kind"], of["kind"])
        and re.fullmatch(target.get("name", ".*"), of["metadata"]["name"])
        and (not name or of["metadata"].get("labels", {}).get(name) == value)
    )


def _patch(of: Object, operation: Object) -> None:
    """One operation of RFC 6902."""
    *parents, last = operation["path"].strip("/").split("/")
    at: Any = of
    for key in parents:
        at = at[int(key)] if isinstance(at, list) else at[key]
    value = copy.deepcopy(operation.get("value"))
    match operation["op"], at:
        case "add", list():
            assert last == "-"
            at.append(value)
        case "add", dict():
            at[last] = value
        case "replace", dict() if last in at:
            at[last] = value
        case "remove", dict() if last in at:
            del at[last]
        case _:
            raise NotImplementedError(f"{operation} of {of['kind']} {of['metadata']['name']}")


def _replace(replacement: Object, objects: list[Object]) -> None:
    source = replacement["source"]
    [found] = [each for each in objects if _is(each, source["kind"], source["name"])]
    value = _get(found, source["fieldPath"])
    for target in replacement["targets"]:
        for each in objects:
            if each["kind"] == target["select"]["kind"]:
                for path in target["fieldPaths"]:
                    place, _, last = path.rpartition(".")
                    _get(each, place)[last] = copy.deepcopy(value)


def _label(of: Object, pairs: dict[str, str]) -> None:
    labelled = [of]
    for place in _TEMPLATES.get(of["kind"], ()):
        found = _get(of, place, [])
        labelled += found if isinstance(found, list) else [found]
    for each in labelled:
        each.setdefault("metadata", {}).setdefault("labels", {}).update(pairs)


def _containers(of: Object) -> list[Object]:
    template = pod_template(of)
    return [] if template is None else template["spec"]["containers"]


def _get(of: Any, path: str, default: Any = None) -> Any:
    for key in path.split("."):
        if isinstance(of, dict) and default is not None and key not in of:
            return default
        of = of[int(key)] if isinstance(of, list) else of[key]
    return of


def _mappings(of: Any) -> Iterator[Object]:
    if isinstance(of, dict):
        yield of
    for each in of.values() if isinstance(of, dict) else of if isinstance(of, list) else ():
        yield from _mappings(each)


def _hash(of: Object) -> str:
    """Of the content, so that pods are replaced when it changes, as kustomize's does."""
    return hashlib.sha256(json.dumps(of["data"], sort_keys=True).encode()).hexdigest()[:10]


def _unhashed(objects: Iterable[Object]) -> dict[tuple[str, str], Object]:
    """By kind and name, without the hashes."""
    hashed = [each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"]
    text = json.dumps(list(objects))
    for name in hashed:
        text = text.replace(f'"{name}"', f'"{name.rpartition("-")[0]}"')
    return {(each["kind"], each["metadata"]["name"]): each for each in json.loads(text)}


def _main() -> int:
    problems = 0
    for folder in sorted((K8S / "overlays").iterdir()):
        printed = subprocess.run(["kubectl", "kustomize", folder], check=True, capture_output=True, text=True).stdout
        real, ours = _unhashed(list(yaml.safe_load_all(printed))), _unhashed(render(folder))
        for kind, name in sorted(real.keys() | ours.keys()):
            if real.get((kind, name)) != ours.get((kind, name)):
                print(f"{folder.name}: {kind} {name} differs")
                problems += 1
    print(f"{problems} differences")
    return min(problems, 1)


if __name__ == "__main__":
    sys.exit(_main())
