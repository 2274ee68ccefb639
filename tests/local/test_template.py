"""CloudFormation's parameters, conditions and intrinsic functions, made plain values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.template import Names, Template, TemplateError, load

HEAD = "Transform: AWS::Serverless-2016-10-31\n"
BUCKET = "Resources:\n  Bucket: {Type: AWS::S3::Bucket}\n"

Loader = Callable[..., Template]


@pytest.fixture
def read(tmp_path: Path) -> Loader:
    def read(text: str, **parameters: str) -> Template:
        path = tmp_path / "template.yaml"
        path.write_text(HEAD + text)
        return load(path, parameters)

    return read


@pytest.fixture
def value(read: Loader) -> Callable[[str], Any]:
    """What a piece of YAML resolves to, in a template with a bucket, parameters and a condition."""

    def value(piece: str) -> Any:
        template = read(
            "Parameters:\n"
            "  Stage: {Type: String, Default: dev}\n"
            "  Number: {Type: Number, Default: 64000000}\n"
            "  Origins: {Type: CommaDelimitedList, Default: 'a, b'}\n"
            "Mappings: {Sizes: {dev: {Memory: 256}}}\n"
            "Conditions:\n"
            "  Holds: !Equals [!Ref Stage, dev]\n"
            "  Fails: !Not [!Condition Holds]\n" + BUCKET + f"    # the piece\n  Thing:\n    Type: T\n"
            f"    Properties:\n      Value: {piece}\n"
        )
        names = Names()
        names.add("Bucket", "the-bucket", Arn="arn:aws:s3:::the-bucket")
        return template.resolve(template.resources["Thing"].properties, names, "Thing")["Value"]

    return value


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        ("!Ref Bucket", "the-bucket"),
        ("!GetAtt Bucket.Arn", "arn:aws:s3:::the-bucket"),
        ("{'Fn::GetAtt': [Bucket, Arn]}", "arn:aws:s3:::the-bucket"),
        ("!Ref Number", 64000000),
        ("!Ref Origins", ["a", "b"]),
        ("!Ref AWS::Region", "us-east-1"),
        ("!Sub /magpie/${Stage}/x", "/magpie/dev/x"),
        ("!Sub ${Bucket.Arn}/${Number}/${!Literal}", "arn:aws:s3:::the-bucket/64000000/${Literal}"),
        ("!Sub ['${Stage}-${Own}', {Own: !Ref Bucket}]", "dev-the-bucket"),
        ("!Join ['-', [!Ref Stage, 1, true]]", "dev-1-true"),
        ("!Join ['+', !Ref Origins]", "a+b"),
        ("!Split ['-', 'a-b']", ["a", "b"]),
        ("!Select [1, !Ref Origins]", "b"),
        ("!FindInMap [Sizes, !Ref Stage, Memory]", 256),
        ("!If [Holds, 1, 2]", 1),
        ("!If [Fails, 1, 2]", 2),
        ("{'Fn::Base64': hello}", "aGVsbG8="),
        ("[1, !If [Fails, 2, !Ref AWS::NoValue], 3]", [1, 3]),
        ("{A: !Ref AWS::NoValue, B: {C: !Ref Stage}}", {"B": {"C": "dev"}}),
        ("2012-10-17", "2012-10-17"),
    ],
)
def test_an_intrinsic_function_gives_what_cloudformation_gives(value, piece, expected):
    assert value(piece) == expected


@pytest.mark.parametrize(
    ("piece", "sentence"),
    [
        ("!Ref Buket", "nothing is named Buket"),
        ("!GetAtt Buket.Arn", "nothing is named Buket"),
        ("!Sub '${Buket}'", "nothing is named Buket"),
        ("!Sub '${Buket.Arn}'", "nothing is named Buket"),
        ("!GetAtt Bucket.Color", "Bucket.Color: a AWS::S3::Bucket has nothing of this name"),
        ("!If [Perhaps, 1, 2]", "nothing is named Perhaps"),
        ("!ImportValue other-stack", "Fn::ImportValue is not known here"),
        ("!GetAZs ''", "Fn::GetAZs is not known here"),
        ("!Select [7, [a]]", "!Select finds nothing at 7"),
        ("!FindInMap [Sizes, prod, Memory]", "no mapping Sizes.prod.Memory"),
        ("!Join [x]", "Fn::Join needs 2 arguments"),
        ("!Sub ['${Origins}', {}]", "a text is needed"),
        ("'{{resolve:ssm:/a/b}}'", "dynamic references"),
    ],
)
def test_what_is_not_known_is_an_error_that_names_the_place(value, piece, sentence):
    with pytest.raises(TemplateError, match=sentence.replace("{", r"\{")) as raised:
        value(piece)
    assert "Value" in str(raised.value)


def test_a_misspelt_name_is_found_even_where_nothing_would_resolve_it(read):
    with pytest.raises(
        TemplateError, match=r"Resources.Alarm.Properties.Actions\[0\]: nothing is named Topik"
    ):
        read(BUCKET + "  Alarm: {Type: AWS::CloudWatch::Alarm, Properties: {Actions: [!Ref Topik]}}\n")
    with pytest.raises(TemplateError, match="Outputs.Url.Value: nothing is named Buket"):
        read(BUCKET + "Outputs: {Url: {Value: !Ref Buket}}\n")
    with pytest.raises(TemplateError, match="Bucket.DependsOn: nothing is named Buket"):
        read("Resources:\n  Bucket: {Type: AWS::S3::Bucket, DependsOn: Buket}\n")


def test_parameters_are_defaults_or_what_is_given(read):
    text = "Parameters: {Stage: {Type: String, Default: dev, AllowedValues: [dev, prod]}}\n" + BUCKET
    assert read(text).parameters == {"Stage": "dev"}
    assert read(text, Stage="prod").parameters == {"Stage": "prod"}
    with pytest.raises(TemplateError, match=r"Parameters.Stage: 'live' is not one of dev, prod"):
        read(text, Stage="live")
    with pytest.raises(TemplateError, match="no parameter Staeg"):
        read(text, Staeg="dev")
    path = read(text).path
    assert load(path, defaults={"Stage": "prod", "Other": "x"}).parameters == {"Stage": "prod"}
    assert load(path, {"Stage": "dev"}, defaults={"Stage": "prod"}).parameters == {"Stage": "dev"}


@pytest.mark.parametrize(
    ("specification", "sentence"),
    [
        ("{Type: String}", "has no default"),
        ("{Type: Number, Default: x}", "is not a number"),
        ("{Type: Number, Default: 9, MaxValue: 8}", "out of range"),
        ("{Type: Number, Default: 9, MinValue: 10}", "out of range"),
        ("{Type: String, Default: ab, MinLength: 3}", "length"),
        ("{Type: String, Default: A1, AllowedPattern: '[a-z]+'}", "does not match"),
        ("{Type: 'AWS::SSM::Parameter::Value<String>', Default: x}", "is not known here"),
    ],
)
def test_a_parameter_that_cloudformation_would_refuse_is_refused(read, specification, sentence):
    with pytest.raises(TemplateError, match=f"Parameters.P.*{sentence}"):
        read(f"Parameters: {{P: {specification}}}\n" + BUCKET)


def test_a_resource_whose_condition_does_not_hold_is_not_there(read):
    text = (
        "Parameters: {With: {Type: String, Default: 'no'}}\n"
        "Conditions:\n  Both: !And [!Condition One, !Equals [1, '1']]\n  One: !Equals [!Ref With, 'yes']\n"
        + BUCKET
        + "  Extra: {Type: AWS::S3::Bucket, Condition: Both}\n"
    )
    without, with_it = read(text), read(text, With="yes")
    assert (set(without.resources), without.absent) == ({"Bucket"}, {"Extra"})
    assert set(with_it.resources) == {"Bucket", "Extra"}
    with pytest.raises(TemplateError, match="its condition does not hold"):
        without.resolve({"Ref": "Extra"}, Names(), "Thing")


def test_globals_are_merged_as_sam_merges_them(read):
    template = read(
        "Globals:\n  Function:\n    Timeout: 5\n    Layers: [one]\n"
        "    Environment: {Variables: {A: '1', B: '2'}}\n"
        "Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      Timeout: 9\n"
        "      Layers: [two]\n      Environment: {Variables: {B: '3', C: '4'}}\n"
    )
    assert template.resources["F"].properties == {
        "Timeout": 9,
        "Layers": ["one", "two"],
        "Environment": {"Variables": {"A": "1", "B": "3", "C": "4"}},
    }


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Rules: {}\n" + BUCKET, "section Rules is not known here"),
        ("Resources:\n  A: {Type: T}\n  A: {Type: U}\n", "A stands there twice"),
        ("Conditions: {Yes: !Equals [1, 1]}\n" + BUCKET, "True is no text; quote it"),
        ("Resources:\n  A: {Properties: {}}\n", "Resources.A: has no Type"),
        ("Resources:\n  A: {Type: T, Propertys: {}}\n", "Resources.A: Propertys is not known"),
        ("Resources:\n  A: {Type: T, Condition: Never}\n", "Resources.A: no condition Never"),
        ("Conditions: {A: !Condition B, B: !Condition A}\n" + BUCKET, "in a circle"),
        ("Resources: [\n", "is not YAML"),
        ("Description: nothing\n", "has no Resources"),
    ],
)
def test_a_template_that_makes_no_sense_is_refused(read, text, sentence):
    with pytest.raises(TemplateError, match=sentence):
        read(text)


def test_a_transform_that_is_not_sams_is_refused(tmp_path):
    path = tmp_path / "template.yaml"
    path.write_text("Transform: AWS::LanguageExtensions\n" + BUCKET)
    with pytest.raises(TemplateError, match="transform AWS::LanguageExtensions is not known here"):
        load(path)
    with pytest.raises(TemplateError, match="cannot be read"):
        load(tmp_path / "nowhere.yaml")
