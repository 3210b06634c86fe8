"""Model files of other runtimes made into ONNX, at set-up (`springtide models pull`)."""
