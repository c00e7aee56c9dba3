# A model, a table and a picture.
fit <- lm(dist ~ speed, data = cars)
stopifnot(abs(coef(fit)[["speed"]] - 3.932) < 0.001)
stopifnot(nrow(MASS::Boston) == 506)
file <- tempfile(fileext = ".png")
png(file, type = "cairo")
plot(cars, main = "fi")
invisible(dev.off())
stopifnot(file.size(file) > 1000)
