"""The field's data sets as DeepfakeBench lays them out, and as they are downloaded."""
