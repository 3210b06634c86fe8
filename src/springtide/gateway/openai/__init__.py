"""The routes of OpenAI's API on our own jobs and blobs, so that programs written against the `openai` package run here.

A route is a projection: it turns OpenAI's parameters into the inputs of a model, makes an ordinary job by the same
`Submission` as `/v1/jobs`, and shows that job, its files and its errors in OpenAI's shapes. docs/openai.md has the map.
"""
