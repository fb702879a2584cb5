"""Every setting: `filigrana.toml` in the working folder (or the file named by FILIGRANA_CONFIG), then FILIGRANA_*
in the environment, then the command line, each over the one before it. docs/settings.md lists them all."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ..errors import SettingsError
from ..provenance.signers.uris import check_uri

CONFIG_FILE = "filigrana.toml"


def default_data_dir() -> Path:
    """The user's data folder: XDG on Linux, Application Support on macOS, LOCALAPPDATA on Windows."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "filigrana"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "filigrana"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "filigrana"


class Settings(BaseSettings):
    """Settings of one installation. Unknown keys are an error: a typo must not switch anything off."""

    model_config = SettingsConfigDict(env_prefix="FILIGRANA_", extra="forbid", frozen=True)

    data_dir: Path = Field(default_factory=default_data_dir, description="keys, database, released assets")
    store: str | None = Field(
        None, description="where released assets lie: a folder, s3://BUCKET/PREFIX, or another address for fsspec"
    )
    store_cache: int = Field(2048, ge=0, description="MiB of copies that are kept here of what lies at an address")
    store_timeout: float = Field(30.0, ge=1, le=600, description="seconds in which an S3 store must answer")
    database: str | None = Field(None, description="sqlite:///FILE or postgresql://…; default: audit.db in data_dir")
    policy: str = Field("newsroom", description="a built-in policy pack's name, or a path to one")
    policy_signers: list[str] = Field([], description="verifier keys: only packs that one of them signed are in force")
    guards: list[str] = Field([], description="guard models: NAME=FOLDER, NAME=OWNER/MODEL, or moderation=URL")
    guard_device: str = Field("auto", description="where guard models run: auto, cpu, cuda or cuda:N")
    guard_dtype: str = Field("auto", pattern="^(auto|float32|bfloat16)$", description="their weights' type")
    moderation_model: str = Field("omni-moderation-latest", min_length=1, description="the model asked for there")
    moderation_key: SecretStr | None = Field(None, description="the moderation endpoint's key")
    model: str = Field("embedded", description="`embedded`, a registered name, folder, hub id, or KIND+URL#WHAT")
    remote_key: SecretStr | None = Field(None, description="the key of a model that is an address")
    remote_seconds: float = Field(300.0, gt=0, le=3600, description="seconds that such a model may take to answer")
    clip_model: str | None = Field(
        None, description="an open_clip `ARCHITECTURE:TAG`, or a folder, instead of the embedded CLIP as guard `clip`"
    )
    speech_model: Path | None = Field(
        None, description="a folder with a Whisper model (transformers): what is said in sound is judged as text"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    dtype: str = Field("auto", pattern="^(auto|float32|float16|bfloat16)$", description="the weights' type")
    offload: Literal["none", "model", "sequential"] = Field(
        "none", description="what of a model waits on the CPU: whole parts (model), or layer by layer (sequential)"
    )
    weights: Literal["none", "float8"] = Field("none", description="float8: the model's largest part stored in 8 bits")
    step_cache: Literal["none", "first_block"] = Field(
        "none", description="first_block: spares the rest of a step whose first block says that little changed"
    )
    vae_tiling: bool = Field(False, description="decodes large pictures in tiles, where the model can")
    organisation: str = Field("Filigrana", min_length=1, max_length=80, description="the provider named in metadata")
    user: str = Field("local", min_length=1, max_length=128, description="who asks, reviews and appeals here")
    profiles: list[str] = Field([], description="laws that releases fulfil: eu, us-ca, us-ny, cn, in, kr; YAML files")
    visible_label: Literal["profiles", "always"] = Field(
        "profiles", description="always: AI-made work gets a visible label although no profile asks for it"
    )
    label_language: str | None = Field(None, pattern="^[a-z]{2}$", description="that of the visible label")
    aigc_producer: str | None = Field(
        None, pattern=r"^[!#-\[\]-~]{1,100}$", description="who makes things, in the AIGC label; default: organisation"
    )
    prompt_writer: str | None = Field(None, max_length=120, description="named beside a published prompt (IPTC)")
    signer: str = Field("file", description="who signs: file, pkcs11:…, awskms:…, gcpkms:…, azurekms://…, hv:…")
    claim_chain: Path | None = Field(None, description="PEM chain, leaf first, of a signer that is not `file`")
    key_passphrase: SecretStr | None = Field(None, description="of an encrypted key file, or a token's PIN")
    key_passphrase_file: Path | None = Field(None, description="a file of its owner's alone with the passphrase")
    signer_timeout: float = Field(30.0, gt=0, le=600, description="seconds that a signer may take")
    tsa_url: Annotated[list[str], NoDecode] = Field(
        [], description="RFC 3161 authorities in order; default: the development one on loopback"
    )
    tsa_timeout: float = Field(10.0, gt=0, le=120, description="seconds that one time-stamp authority may take")
    ocsp: str = Field("off", pattern="^(off|check)$", description="check: no signature by a revoked certificate")
    ocsp_url: str | None = Field(None, description="the OCSP responder; default: the one in the certificate")
    claim_trust: list[Path] = Field([], description="PEM files: whose claim signatures count as `configured`")
    tsa_trust: list[Path] = Field([], description="PEM files: whose time-stamps count as `configured`")
    c2pa_claim_trust: list[Path] = Field([], description="PEM files: the official C2PA trust list")
    c2pa_tsa_trust: list[Path] = Field([], description="PEM files: the official C2PA time-stamp trust list")
    watermark_key: SecretStr | None = Field(None, description="an organisation's secret key; default: published key")
    watermark_layers: list[str] = Field(
        [], description="further marks over the default one: dwtdctsvd, rivagan, trustmark, videoseal"
    )
    log_name: str | None = Field(
        None,
        pattern=r"^[^\s+\x00-\x1f]{1,200}$",
        description="the log's name, unique in the world, such as example.com/audit; fixed when its key is made",
    )
    log_ml_dsa: bool = Field(False, description="sign checkpoints with ML-DSA-44 too (adds 3 KB to each proof)")
    publish_prompt: bool = Field(False, description="write the prompt's text into released files")
    guard_timeout: float = Field(30.0, gt=0, le=600, description="seconds that a guard may take")
    stage_timeout: float = Field(3600.0, gt=0, description="seconds that any other stage may take")
    max_pixels: int = Field(50_000_000, ge=65_536, description="the largest frame that is read")
    max_seconds: float = Field(4 * 3600.0, gt=0, description="the longest clip that is read, in seconds")
    verify_memory: int = Field(3072, ge=256, description="MiB that verifying one file may take")
    verify_seconds: float = Field(600.0, gt=0, le=86_400, description="seconds that verifying one file may take")
    verify_workers: int = Field(2, ge=1, le=256, description="files that are verified at once")
    catalogs: list[str] = Field([], description="other catalogs to ask: `URL` or `URL LOG-KEY`")
    embed_limit: int = Field(2 << 30, ge=1, description="bytes up to which credentials are embedded, not a sidecar")
    log_publish: list[str] = Field(
        [], description="where checkpoints go: folders, s3://… and other URLs, `tsa`, `witness+https://HOST KEY`"
    )
    log_witness_quorum: int = Field(0, ge=0, le=64, description="how many of these witnesses must cosign")
    checkpoint_entries: int = Field(1000, ge=1, description="entries after which checkpoints are published")
    checkpoint_seconds: float = Field(
        3600.0, gt=0, allow_inf_nan=False, description="seconds after which they are, if there is anything new"
    )
    serve_max_bytes: int = Field(256 << 20, ge=1 << 16, description="the largest upload that the service takes")
    serve_seconds: float = Field(120.0, gt=0, le=3600, description="seconds in which an upload must have arrived")
    serve_rate: float = Field(60.0, gt=0, description="requests a minute from one address; reading pages costs a tenth")
    serve_verify_seconds: float = Field(60.0, gt=0, le=3600, description="seconds that reading one file may take there")
    serve_queue: int = Field(16, ge=0, le=10_000, description="files that may wait for a worker; then it answers 503")
    serve_connections: int = Field(128, ge=1, description="open connections, of which an address has a quarter at most")
    serve_url: str | None = Field(None, description="the service's public address, for receipts and documents")
    serve_wait: float = Field(120.0, gt=0, le=3600, description="seconds that a request waits for its pictures there")
    serve_streams: int = Field(64, ge=1, le=10_000, description="event streams at once, of one key a quarter at most")
    jobs_limit: int = Field(10_000, ge=1, description="jobs that may wait; then the service answers 429")
    jobs_tenant_limit: int = Field(1000, ge=1, description="jobs of one tenant that may wait")
    jobs_lease: float = Field(30.0, ge=1, le=3600, description="seconds after which a silent worker loses its job")
    executor: Literal["local", "ray"] = Field(
        "local", description="ray: workers draw and judge on a Ray cluster, and do the rest themselves"
    )
    ray_address: str | None = Field(None, description="the head of that cluster; none: a Ray of this machine alone")
    ray_drawing: int = Field(1, ge=1, le=256, description="processes there that draw, for one worker")
    ray_judging: int = Field(1, ge=0, le=256, description="processes there that judge; 0: the worker judges")
    ray_drawing_gpus: float = Field(0.75, ge=0, le=64, description="GPUs that each of the former has; 0: none")
    ray_judging_gpus: float = Field(0.25, ge=0, le=64, description="GPUs that each of the latter has, also a share")
    ray_jobs: int = Field(2, ge=1, le=256, description="jobs that such a worker works on at once")
    jobs_attempts: int = Field(3, ge=1, le=100, description="how often a job is begun before it has failed")
    jobs_keep_days: float = Field(90.0, gt=0, le=36_500, description="days after which ended jobs are forgotten")
    idempotency_hours: float = Field(48.0, gt=0, le=8760, description="hours for which idempotency keys count")
    key_rate: float = Field(600.0, gt=0, le=1e6, description="requests a minute with one API key")
    key_in_flight: int = Field(200, ge=0, description="jobs of one API key that have not ended")
    key_priority: int = Field(4, ge=0, le=9, description="the highest priority of a key that is not an admin's")
    session_hours: float = Field(8.0, gt=0, le=168, description="hours after which people sign in again on the pages")
    oidc_issuer: str | None = Field(None, description="an OpenID Connect provider by which people sign in")
    oidc_client: str | None = Field(None, min_length=1, description="our client id there")
    oidc_secret: SecretStr | None = Field(None, description="our client secret there; none: a public client with PKCE")
    oidc_claim: str = Field("groups", min_length=1, description="the claim that names a person's groups")
    oidc_roles: list[str] = Field([], description="who may do what: GROUP=ROLE@TENANT")
    oidc_people: list[str] = Field([], description="which account is which person here: SUB=SUBJECT, as keys name it")
    traces: str | None = Field(None, pattern="^https?://", description="an OpenTelemetry collector (OTLP over HTTP)")
    log_format: Literal["text", "json"] = Field("text", description="how the service and its workers log")
    serve_drain: float = Field(0.0, ge=0, le=3600, description="seconds of 503 at /readyz before it stops")
    trusted_proxies: list[str] = Field([], description="addresses or networks whose X-Forwarded-For is believed")
    fetch_allow: list[str] = Field([], description="further places that URLs may name: HOST:PORT, or networks")
    fetch_max_bytes: int = Field(64 << 20, ge=1 << 16, description="the largest file that is fetched from a URL")
    fetch_seconds: float = Field(20.0, gt=0, le=600, description="seconds that fetching a URL may take")
    resolver_token: SecretStr | None = Field(
        None, description="who shows it may write to the recovery API; none: nobody"
    )
    cpu_watts: float = Field(
        10.0, gt=0, le=1000, description="declared watts of one busy core, for the energy estimate"
    )

    @field_validator("watermark_key")
    @classmethod
    def _a_real_key(cls, key: SecretStr | None) -> SecretStr | None:
        """Empty is unset, as an environment file often has it; what can be guessed is no key."""
        if key is None or not key.get_secret_value():
            return None
        if len(key.get_secret_value()) < 8:
            raise ValueError("a watermark key has at least 8 characters, and should have 32")
        return key

    @field_validator("resolver_token")
    @classmethod
    def _a_real_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is None or not token.get_secret_value():
            return None
        if len(token.get_secret_value()) < 16:
            raise ValueError("a token has at least 16 characters")
        return token

    @field_validator("guards")
    @classmethod
    def _known_guards(cls, guards: list[str]) -> list[str]:
        from .text_guards import parse

        parse(guards)
        return guards

    @field_validator("policy_signers")
    @classmethod
    def _verifier_keys(cls, keys: list[str]) -> list[str]:
        from .policy_signatures import parse_signers

        parse_signers(keys)
        return keys

    @field_validator("moderation_key", "remote_key", "oidc_secret")
    @classmethod
    def _given(cls, key: SecretStr | None) -> SecretStr | None:
        return key if key is not None and key.get_secret_value() else None

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ip_network(network, strict=False)
        return networks

    @field_validator("fetch_allow")
    @classmethod
    def _places(cls, places: list[str]) -> list[str]:
        from .fetching import Allowed

        Allowed.parse(places)
        return places

    @field_validator("oidc_roles")
    @classmethod
    def _roles(cls, roles: list[str]) -> list[str]:
        from .web.console.oidc import parse_role

        for role in roles:
            parse_role(role)
        return roles

    @field_validator("oidc_people")
    @classmethod
    def _people(cls, value: list[str]) -> list[str]:
        from .web.console.oidc import parse_people

        parse_people(value)
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]")):
            raise ValueError("the provider's address begins with https://")
        return url or None

    @field_validator("store")
    @classmethod
    def _no_keys_in_it(cls, store: str | None) -> str | None:
        """Addresses are shown and logged. What fsspec knows is found out when it is used."""
        scheme, mark, rest = (store or "").partition("://")
        if mark and scheme.lower() in ("http", "https"):
            raise ValueError("nothing can be stored at an http address: name a bucket or a folder")
        if mark and ("@" in rest.split("/")[0] or "?" in rest):
            raise ValueError("no credentials and no options in the store's address: its driver finds them by itself")
        return store or None

    @field_validator("serve_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("the service's address begins with https:// or http://")
        return url.rstrip("/") if url else None

    @field_validator("signer")
    @classmethod
    def _known_signer(cls, uri: str) -> str:
        return check_uri(uri)

    @field_validator("tsa_url", mode="before")
    @classmethod
    def _one_or_many(cls, urls: Any) -> Any:
        """One as text, as it was before there could be several; several in the environment with blanks between."""
        return urls.split() if isinstance(urls, str) else urls

    @field_validator("tsa_url")
    @classmethod
    def _http(cls, urls: list[str]) -> list[str]:
        if not all(url.startswith(("http://", "https://")) for url in urls):
            raise ValueError("a time-stamp authority has an http or https URL")
        if len(set(urls)) != len(urls):
            raise ValueError("a time-stamp authority is named twice")
        return urls

    @field_validator("log_publish")
    @classmethod
    def _targets(cls, targets: list[str]) -> list[str]:
        """What can be seen from the text alone; the rest is checked when a target is used."""
        for target in targets:
            plain = target.strip()
            if not plain or plain != target or "\x00" in target:
                raise ValueError("a target is a folder, a URL, `tsa`, or a witness")
            if plain.startswith("witness+"):
                if not plain.startswith(("witness+https://", "witness+http://")) or len(plain.split()) < 2:
                    raise ValueError("a witness is written `witness+https://HOST KEY`, KEY being name+id+base64")
            elif plain.lower().startswith(("http://", "https://")):
                raise ValueError("nothing can be published at an http address: name a bucket or a folder")
        if len(set(targets)) != len(targets):
            raise ValueError("a target is named twice")
        return targets

    @property
    def database_file(self) -> Path | None:
        """The SQLite file; None for a server."""
        scheme, _, path = self.database_url.partition(":///")
        return Path(path) if scheme.startswith("sqlite") and path else None

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data_dir / 'audit.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = Path(os.environ.get("FILIGRANA_CONFIG") or CONFIG_FILE)
        sources: tuple[PydanticBaseSettingsSource, ...] = (init_settings, env_settings)
        return (*sources, TomlConfigSettingsSource(settings_cls, file)) if file.is_file() else sources


def load_settings(**overrides: Any) -> Settings:
    """The settings, with ``overrides`` (None values are left out) on top. Raises SettingsError that names the key."""
    given = {key: value for key, value in overrides.items() if value is not None}
    config = os.environ.get("FILIGRANA_CONFIG")
    if config and not Path(config).is_file():
        raise SettingsError("the file that FILIGRANA_CONFIG names does not exist")
    known = {f"FILIGRANA_{name.upper()}" for name in Settings.model_fields} | {"FILIGRANA_CONFIG"}
    for name in os.environ:
        if name.startswith("FILIGRANA_") and name.upper() not in known:
            raise SettingsError(f"{name} is not a setting", hint="docs/settings.md lists them all.")
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        from .settings_told import source

        hint = f"It is set by {source(str(first['loc'][0]), given)}; docs/settings.md says what it may be."
        raise SettingsError(f"the setting {place} is wrong: {first['msg']}", hint=hint) from error
    except ValueError as error:  # a TOML file that does not parse
        raise SettingsError(f"{CONFIG_FILE} is not valid TOML: {str(error)[:120]}") from error
