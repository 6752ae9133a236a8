/* gaussian.h - how wide Gaussian noise must be for (epsilon, delta)-differential privacy. */
#ifndef QG_GAUSSIAN_H
#define QG_GAUSSIAN_H

/* The smallest sigma for L2 sensitivity 1 (it grows with the sensitivity).
 *
 * zcdp: by zero-concentrated privacy and its conversion (Canonne, Kamath, Steinke 2020), proven
 * for the discrete Gaussian in any dimension.  analytic: Balle and Wang 2018, exact for the
 * continuous Gaussian and so a little smaller; for the discrete one it is what a fine grid tends
 * to.  0 < epsilon <= 100, 1e-15 <= delta < 1. */
double gaussian_sigma_zcdp(double epsilon, double delta);
double gaussian_sigma_analytic(double epsilon, double delta);

/* The delta that rho-zCDP has at epsilon. */
double zcdp_delta(double rho, double epsilon);

/* The delta of the continuous Gaussian at epsilon, sensitivity 1. */
double gaussian_delta(double sigma, double epsilon);

#endif
