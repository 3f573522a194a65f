"""Photos of one's own, as settings and as a command line gives them: a backpack's, in a bucket."""

PROMPTS = ("--instance-prompt", "a photo of sks backpack", "--class-prompt", "a photo of a backpack")
ON_S3 = {
    "data.instance_images": "s3://photos/backpack",
    "data.instance_prompt": "a photo of sks backpack",
    "data.class_prompt": "a photo of a backpack",
}
